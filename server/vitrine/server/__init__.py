"""Serves the artifact: the engine that runs it, the service that answers requests, and gRPC around them.

From the inside out: `artifact` reads a file and checks it, `engine` runs it, `models` holds what is served,
`repository` says what lies in a folder of models and `reloading` serves it as it changes, `access` says who may ask for
what, a `call` is a request on its way, `batching`, `admission` and `rates` gather and bound what comes, `statistics`
counts what was done, `classifier` is the service (plain data in, plain data out), `grpc/` translates, `lifecycle`
starts and stops, `worker` is a process that does all this beside others, `supervisor` keeps those going, `cli` reads
the settings. Each knows only those before it. `followed` reads files again that an operator replaces: `certificates`
and `tokens`.

`measuring` measures all that from outside: with the instruments in `metrics`, by `watching` the models' runs and the
`activation_health` of their layers. `scraping` shows the metrics, of one process or of all workers.
"""
