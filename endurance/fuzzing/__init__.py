"""Bad input of every kind that a stranger could send to a server, and a check of the server's reaction.

- `corpus`: valid messages and image files, which are mutated
- `mutation`: turns valid bytes into bad ones
- `calls`: sends mutated messages through gRPC
- `json_mutation`: the same for requests in JSON
- `web_calls`: sends mutated messages in the forms of gRPC-Web and Connect
- `http1`: HTTP/1.1 as bytes, and its answers
- `malformed_http1`: broken HTTP/1.1
- `frames`: HTTP/2 frames as bytes, including those that no HTTP/2 library would write
- `connections`: plain sockets, and the server's reaction on them
- `malformed_http2`: broken HTTP/2, and floods of valid frames
- `malformed_grpc`: valid HTTP/2 that breaks gRPC's protocol
- `slow_clients`: clients that stay idle, don't read, or leave without a word
- `outcomes`: counts outcomes, and knows which are allowed
- `kinds`: the table of all kinds: their share, sender and allowed outcomes
- `campaign`: runs them against one server, and watches it

Each attack is made from a seed, its kind and its number, and can be sent again.
"""
