"""Run by alembic, over the connection from `store.migrate`."""

from alembic import context

from flawsight.serve.database import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
