"""Bad input for a server, of every kind that a stranger could send, and the verdict on how it took that.

- `corpus`: good messages and image files, to be mutated
- `mutation`: makes bad bytes of good ones
- `calls`: sends messages through gRPC
- `frames`: HTTP/2 as bytes, which no HTTP/2 library would write
- `rubbish`: sends such bytes over plain sockets
- `lingering`: callers that stay, say nothing, don't read, or leave without a word
- `verdict`: counts what came of it, and knows what may
- `restarts`: knows what falls into a restart of gRPC's part of the server, which some of it brings about
- `campaign`: runs them all against one server, and watches that

Everything is made from a seed, the kind and a number: what went wrong once can be sent again.
"""
