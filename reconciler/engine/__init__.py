"""The only place that speaks to Docker.

`client.py` is one connection to one Engine (`endpoint.py` says where, `errors.py` what can
go wrong). `observe.py` keeps an `ObservedContext` true to what that Engine runs;
`snapshot.py` cuts one project out of it, from the cache or asked afresh, with `records.py`
turning JSON into records. `execute.py` carries plans out: `containers.py`, `networks.py`,
`hooks.py`, `inject.py` and `waiting.py` hold the actions, `work.py` what they have at hand.
Images come from registries (`images.py`, `registry.py`, `credentials.py`, `reference.py`)
or are built (`build.py`, `context.py`, `buildkit.py`).

Nothing here decides what should run: that is the planner's, and pure.
"""
