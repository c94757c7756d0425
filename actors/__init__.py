"""The actors of packhorse: a supervisor for any Pykka program, and seven nodes under one.

README.md beside this file says who owns what, how things stop, and how they are restarted.
"""

from __future__ import annotations

from .children import ChildInfo, Status
from .childspec import AutoShutdown, Backoff, ChildSpec, Restart, Strategy
from .handles import ConnErrorReceiver, PackageReceiver, PackageSender
from .messages import Death, DeathReason
from .stack_supervisor import StackSupervisor
from .supervised import SupervisedActor
from .supervisor import ChildCount, GaveUp, Supervisor

__all__ = [
    "AutoShutdown",
    "Backoff",
    "ChildCount",
    "ChildInfo",
    "ChildSpec",
    "ConnErrorReceiver",
    "Death",
    "DeathReason",
    "GaveUp",
    "PackageReceiver",
    "PackageSender",
    "Restart",
    "StackSupervisor",
    "Status",
    "Strategy",
    "SupervisedActor",
    "Supervisor",
]
