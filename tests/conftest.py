"""What every test room may use."""

pytest_plugins = ["tests.stack_fixtures"]
