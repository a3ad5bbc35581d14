"""Looks at a deployed stack from outside, by pytest-testinfra, and says what is not as it must be.

What is looked at follows from what the stack declares: `local` by its processes, files and endpoints, a cluster by
its API and its gateway, an account by AWS's APIs. Each function of `checks/` is one check; nothing is changed.
"""
