"""What keeps mirrors complete, beside the rule itself (mirrors.py), which writes down what is wanted.

catching_up  a worker's part: wanted copies are made, read back and recorded
waiting      the list of them: leased, put off, done with
search       what is missing or no longer needed after a change of the configuration
lag          how far behind each mirror is
"""

from simpledrive.mirroring.catching_up import CatchingUp
from simpledrive.mirroring.lag import IN_STEP, Lag, Lags

__all__ = ["IN_STEP", "CatchingUp", "Lag", "Lags"]
