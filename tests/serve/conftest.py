from collections.abc import Iterator

import pytest

from helpers.postgres import Postgres, postgres_programs, running_postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    programs = postgres_programs()
    if programs is None:
        pytest.skip("Debian's package postgresql is not installed")
    with running_postgres(programs) as running:
        yield running
