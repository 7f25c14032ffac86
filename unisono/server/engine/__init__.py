"""The engine process: how it is started, spoken to and watched."""
