"""What callout costs, measured beside the floor and beside the alternatives. See README.md."""
