"""Every step from nothing to destroyed, by the real engine, against an emulated AWS and a real Kubernetes API server.

`falaj rehearse STACK` is the way in. The engine runs the program as for anyone; the providers that it finds here
are ours, and speak to moto and to a kube-apiserver on this machine.
"""
