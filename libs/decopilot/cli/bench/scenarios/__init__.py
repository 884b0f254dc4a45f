"""What is measured: each module one scenario, its sizes, and how it is done."""
