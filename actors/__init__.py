"""The actors of packhorse: seven nodes, the mailboxes between them, and the supervisor that keeps them running.

README.md beside this file says who owns what, how things stop, and how they are restarted.
"""

from __future__ import annotations

from .handles import ConnErrorReceiver, PackageReceiver, PackageSender
from .supervisor import StackSupervisor

__all__ = ["ConnErrorReceiver", "PackageReceiver", "PackageSender", "StackSupervisor"]
