"""What the command line refuses, said so that a person knows what to do next."""


class CliError(Exception):
    """The command can't be carried out; its text is the whole message, the exit code is 1."""


class BrokerError(CliError):
    """The embedded nats-server can't be found, started, or given its folder."""
