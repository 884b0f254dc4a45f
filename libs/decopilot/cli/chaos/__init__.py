"""`decopilot chaos`: say which promise breaks when parts are killed and stopped at random."""
