"""Which requests a rule can match at all, and which rules come before it. For lint alone: no request is judged by this.

Rule 1: sound, not complete. What is said never to match never matches; of what is not said, nothing is claimed.
Rule 2: cost grows with the number of rules, not with its square.
"""
