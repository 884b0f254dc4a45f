"""The command line `decopilot`: everything on one machine with `up`, or one service at a time."""

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from decopilot.cli import keeping
from decopilot.cli.automations import automations
from decopilot.cli.bench import bench
from decopilot.cli.chaos import HELP as CHAOS
from decopilot.cli.chaos import chaos
from decopilot.cli.errors import CliError
from decopilot.cli.nats_config import nats_config
from decopilot.cli.observing import doctor, events, replay, runs
from decopilot.cli.tokens import Role
from decopilot.cli.usage import (
    DEFAULT_DATA_DIR,
    AsJson,
    ConfigFile,
    DataDir,
    Files,
    Mode,
    OnConflict,
    OneLineUsage,
    Org,
    Private,
    Tier,
    Timeout,
    Token,
    ToolApproval,
    Url,
)

app = typer.Typer(
    name="decopilot",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # `up` streams the traceback of its children line by line: plain is readable there
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Durable AI chat runs. [bold]decopilot up[/bold] starts everything on this machine and prints a link.",
    rich_markup_mode="rich",
)
ONE_MACHINE = "On one machine"
ONE_SERVICE = "One service, configured by environment"
OPERATE = "Operate: any NATS, or that of a running `up`"
app.add_typer(automations, rich_help_panel=ONE_MACHINE)
app.add_typer(bench, rich_help_panel=ONE_MACHINE)
app.command(rich_help_panel=ONE_MACHINE, help=CHAOS)(chaos)
config = typer.Typer(no_args_is_help=True, help="Check what `decopilot.toml` says, or write one to begin with.")
app.add_typer(config, name="config", rich_help_panel=ONE_MACHINE)


def main() -> None:
    """Run the command line; a refusal is one message on stderr and exit code 1."""
    try:
        app()
    except CliError as error:
        typer.secho(str(error), err=True, fg=typer.colors.RED)
        sys.exit(1)


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it so
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 - only here

        typer.echo(f"decopilot {version('decopilot')}")
        raise typer.Exit


@app.callback()
def decopilot(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Take the options that belong to no command."""
    del version


@app.command(rich_help_panel=ONE_MACHINE)
def up(
    *,
    port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65_535, show_default="8080, or the next free one", help="Where the web page is served."
        ),
    ] = None,
    config: ConfigFile = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    scale: Annotated[
        list[str] | None, typer.Option(metavar="SERVICE=N,…", help="Copies per service, such as runner=2,gateway=2.")
    ] = None,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the link in a browser.")] = False,
    ready_timeout: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="How long the processes may take to become ready.")
    ] = 60,
) -> None:
    """Start NATS and all services on this machine, print a link, stay until Ctrl-C.

    Data stays in --data-dir: the next `up` goes on with it. Nothing listens beyond 127.0.0.1.
    """
    from decopilot.cli.configuring import use  # noqa: PLC0415 - `--help` must not wait for it
    from decopilot.cli.plan import parse_scale  # noqa: PLC0415 - as above
    from decopilot.cli.up import Options  # noqa: PLC0415 - as above
    from decopilot.cli.up import up as run_up  # noqa: PLC0415 - as above

    use(config)
    options = Options(data_dir, port, parse_scale(scale or []), open_browser, ready_timeout)
    run_up(options, os.environ)


@config.command("check")
def config_check(*, config: ConfigFile = None) -> None:
    """Read the configuration, import what it names, and print every mistake with its place; else what it says.

    Exit codes: 0 usable, perhaps with warnings; 1 not.
    """
    from decopilot.cli.configuring import check, use  # noqa: PLC0415 - `--help` must not wait for it

    use(config)
    raise typer.Exit(check())


@config.command("init")
def config_init(
    *, config: Annotated[Path, typer.Option(metavar="FILE", help="Where to write it.")] = Path("decopilot.toml")
) -> None:
    """Write a commented configuration to begin with; a file that is there stays as it is."""
    from decopilot.cli.configuring import init  # noqa: PLC0415 - `--help` must not wait for it

    typer.echo(init(config))


@app.command(rich_help_panel=ONE_MACHINE)
def ps(
    *,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list, for programs.")] = False,
) -> None:
    """Show the processes of a running `up` and whether they are ready."""
    from decopilot.cli.running import list_processes, show_table  # noqa: PLC0415 - `--help` must not wait for it

    processes = list_processes(data_dir)
    if as_json:
        import json  # noqa: PLC0415 - as above

        typer.echo(json.dumps([process.model_dump() for process in processes], indent=2))
    else:
        show_table(processes)


@app.command(rich_help_panel=ONE_MACHINE)
def down(*, data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """End a running `up` and wait until everything has ended; fine if nothing runs."""
    from decopilot.cli.running import end  # noqa: PLC0415 - `--help` must not wait for it

    typer.echo(end(data_dir), err=True)


@app.command(rich_help_panel=ONE_MACHINE)
def token(
    *,
    org: Annotated[str, typer.Option(help="Org the token opens: 1 to 64 letters, digits, '_' or '-'.")],
    user: Annotated[str, typer.Option(help="Who holds it, 1 to 256 characters.")],
    role: Annotated[Role, typer.Option(help="What the user may do in the org.")] = Role.MEMBER,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    hours: Annotated[int, typer.Option(min=1, max=87_600, help="How long it is valid.")] = 720,
) -> None:
    """Print a token for the gateway, and nothing else on stdout.

    Signed with DECOPILOT_JWT_SECRET, else with the secret in --data-dir (made if it is missing, and then said so).
    """
    from datetime import UTC, datetime  # noqa: PLC0415 - `--help` must not wait for it

    from decopilot.cli.state import DataFolder  # noqa: PLC0415 - as above
    from decopilot.cli.tokens import issue_token  # noqa: PLC0415 - as above

    folder = DataFolder(data_dir)
    is_new = not folder.has_secret(os.environ)
    secret = folder.jwt_secret(os.environ)
    if is_new:
        note = f"No `decopilot up` has run here yet: a new secret was made in {folder.path}. It opens no other gateway."
        typer.echo(note, err=True)
    typer.echo(issue_token(secret, org=org, user=user, role=role, hours=hours, now=datetime.now(UTC)))


@app.command(rich_help_panel=ONE_MACHINE, cls=OneLineUsage)
def run(
    *,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to ask; [bold]-[/bold] reads it from stdin.")],
    thread: Annotated[
        str | None, typer.Option(metavar="ID", show_default="a new one", help="Conversation to go on with.")
    ] = None,
    on_conflict: Annotated[
        OnConflict,
        typer.Option(help="While another run goes on in the thread: wait for its end, end it, or be refused."),
    ] = OnConflict.QUEUE,
    tool_approval: Annotated[
        ToolApproval | None,
        typer.Option(
            show_default="as the agent has it", help="Which tools run without asking: all, or those that only read."
        ),
    ] = None,
    agent: Annotated[
        str | None, typer.Option(metavar="ID", show_default="default", help="Agent of the configuration to ask.")
    ] = None,
    tier: Annotated[
        Tier | None, typer.Option(show_default="the agent's", help="Kind of model that is to answer.")
    ] = None,
    file: Files = None,
    mode: Annotated[
        Mode, typer.Option(help="Just do it, propose a plan before anything is changed, or search the web first.")
    ] = Mode.DEFAULT,
    private: Private = False,
    as_json: AsJson = False,
    timeout: Timeout = None,
    org: Org = "local",
    url: Url = None,
    token: Token = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Ask one question, print the answer as it comes, end when its run has ended.

    The answer goes to stdout, all else to stderr; a pipe gets text only once nothing can take it back.

    Ctrl-C cancels the run and waits for its end; a second one leaves it. A run that is left goes on.

    Exit codes: 0 completed; 1 refused, or --timeout; 2 it waits for you (`decopilot answer`); 3 failed;

    4 cancelled, superseded or withdrawn; 130 left by Ctrl-C; 141 left because nobody reads stdout any more.
    """
    from decopilot.cli.asking import Question, ask  # noqa: PLC0415 - `--help` must not wait for it
    from decopilot.cli.following import Terms  # noqa: PLC0415 - as above

    question = Question(
        text,
        on_conflict.value,
        None if tool_approval is None else tool_approval.value,
        mode.value,
        agent,
        None if tier is None else tier.value,
        file or (),
        private,
    )
    terms = Terms(data_dir, org, thread, url, token, as_json, timeout)
    raise typer.Exit(ask(question, terms, os.environ))


@app.command(rich_help_panel=ONE_MACHINE, cls=OneLineUsage)
def answer(
    *,
    thread: Annotated[str, typer.Option(metavar="ID", help="Conversation that waits.")],
    approved: Annotated[
        bool | None,
        typer.Option(
            "--approve/--deny",
            show_default=False,
            help="What is to become of calls that ask for approval, and of a plan.",
        ),
    ] = None,
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="Why, for the agent to know.")] = None,
    output: Annotated[
        str | None, typer.Option(metavar="TEXT", help="The answer to a call that waits for one: a text, or JSON.")
    ] = None,
    call: Annotated[
        str | None, typer.Option(metavar="ID", show_default="all that wait", help="Answer this call only.")
    ] = None,
    as_json: AsJson = False,
    timeout: Timeout = None,
    org: Org = "local",
    url: Url = None,
    token: Token = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Answer what a run waits for, print the whole answer, end when the run that goes on has ended.

    Approvals are given by --approve or --deny, other answers by --output.

    While some of it still waits nothing goes on, and the exit code is 2 again; else all is as with `decopilot run`.
    """
    from decopilot.cli.asking import Reply  # noqa: PLC0415 - `--help` must not wait for it
    from decopilot.cli.asking import answer as give_answer  # noqa: PLC0415 - as above
    from decopilot.cli.following import Terms  # noqa: PLC0415 - as above

    terms = Terms(data_dir, org, thread, url, token, as_json, timeout)
    raise typer.Exit(give_answer(Reply(approved, reason, output, call), terms, os.environ))


@app.command(rich_help_panel=ONE_MACHINE, cls=OneLineUsage)
def chat(
    *,
    thread: Annotated[
        str | None,
        typer.Option(metavar="ID", show_default="a new one", help="Conversation to go on with, also in mid-answer."),
    ] = None,
    agent: Annotated[
        str | None, typer.Option(metavar="ID", show_default="default", help="Agent of the configuration to talk with.")
    ] = None,
    tier: Annotated[
        Tier | None, typer.Option(show_default="the agent's", help="Kind of model that is to answer.")
    ] = None,
    mode: Annotated[
        Mode, typer.Option(help="Just do it, propose a plan before anything is changed, or search the web first.")
    ] = Mode.DEFAULT,
    ask_first: Annotated[
        bool, typer.Option("--ask-first", help="Be asked before a tool changes anything, whatever the agent says.")
    ] = False,
    file: Files = None,
    private: Private = False,
    org: Org = "local",
    url: Url = None,
    token: Token = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Talk in the terminal: answers as they come, approvals, questions, plans, a queue.

    Type while an answer goes on, and it is queued; Ctrl-O sends it at once. Esc or Ctrl-C cancels, Ctrl-C again leaves.

    What goes on, goes on without you: --thread comes back to it. In the chat, /help tells the rest.
    """
    from decopilot.cli.chat import chat as talk  # noqa: PLC0415 - `--help` must not wait for it
    from decopilot.cli.chat.session import Choice  # noqa: PLC0415 - as above
    from decopilot.cli.following import Terms  # noqa: PLC0415 - as above

    choice = Choice(agent, None if tier is None else tier.value, mode.value, ask_first, file or (), private)
    talk(choice, Terms(data_dir, org, thread, url, token), os.environ)


@app.command(rich_help_panel=ONE_SERVICE)
def command() -> None:
    """Run the command service in the foreground."""
    _become("decopilot_command")


@app.command(rich_help_panel=ONE_SERVICE)
def runner() -> None:
    """Run a runner in the foreground."""
    _become("decopilot_runner")


@app.command(rich_help_panel=ONE_SERVICE)
def reactor() -> None:
    """Run the reactor in the foreground."""
    _become("decopilot_reactor")


@app.command(rich_help_panel=ONE_SERVICE)
def gateway() -> None:
    """Run the gateway in the foreground."""
    _become("decopilot_gateway")


app.command(name="nats-config", rich_help_panel=OPERATE)(nats_config)


@app.command(rich_help_panel=OPERATE)
def provision() -> None:
    """Create or update all streams, buckets and consumers in NATS; safe to repeat.

    DECOPILOT_NATS_URL says where, DECOPILOT_NATS_USER and DECOPILOT_NATS_PASSWORD who asks (`provision` or `operator`),
    DECOPILOT_REPLICAS how many copies the cluster keeps.
    """
    from decopilot.cli.provision import run  # noqa: PLC0415 - `--help` must not wait for it

    run()


for observing in (doctor, runs, events, replay):
    app.command(rich_help_panel=OPERATE)(observing)
keeping.register(app, OPERATE)


def _become(module: str) -> NoReturn:
    # The service takes the place of this process: signals and the exit code go straight to and from it.
    os.execv(sys.executable, [sys.executable, "-m", module])  # noqa: S606 - no shell is the point
