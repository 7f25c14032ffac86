"""The processes of the kit: a child that checks, a parent that keeps its time."""
