"""Every subject, event, command, frame and watch event, declared once."""
