"""The HTTP service: upload → queue → model → store → answer.

Nothing here is imported by the rest of flawsight; it needs the extra `serve`.
"""
