"""HTTP before any route: connections, guard, bodies, streams. Knows nothing of OpenAI."""
