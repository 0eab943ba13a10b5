"""Real things to test with: Engines, registries, Git servers, databases, and the real Compose."""
