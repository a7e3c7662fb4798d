"""A CS3 gateway over a plain folder, for tests, demonstrations and benchmarks; imports nothing of the rest of the package.

`server` starts and stops it, `gateway` answers gRPC, `datagateway` answers HTTP, a profile (`profile_reva`,
`profile_opencloud`, `profile_eos`) decides what the answers are, `faults` spoils them on request.
"""
