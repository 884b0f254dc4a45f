"""A graph of one node that says what is asked for, by LangGraph's stream writer (docs: "Streaming", custom data)."""

from typing import TypedDict

from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from saying import Work, saying


class State(TypedDict):
    """The graph's state: the work."""

    work: Work


async def talk(state: State) -> State:
    """Say it."""
    write = get_stream_writer()
    write({"type": "start", "messageId": "a1"})
    async for chunk in saying(state["work"]):
        write(chunk)
    write({"type": "finish"})
    return state


graph = StateGraph(State).add_node("talk", talk).add_edge(START, "talk").add_edge("talk", END).compile()
