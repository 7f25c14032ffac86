"""The OpenAI API: schemas, routes, and how answers are rendered."""
