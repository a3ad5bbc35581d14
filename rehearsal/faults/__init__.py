"""Things that go wrong in a deployment, done to one for real, each of which it must come out of whole.

`falaj rehearse STACK --fault NAME|all` is the way in. Proxies stand between the providers and moto and the API server;
rules say which calls they refuse, hold, cut off or keep back.
"""
