"""Git sources against real git servers."""
