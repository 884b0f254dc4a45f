"""The rules: pure functions over contracts, without clock, chance or input and output."""
