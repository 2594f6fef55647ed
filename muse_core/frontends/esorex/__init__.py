# SPDX-License-Identifier: GPL-2.0-or-later
"""The command muse-esorex. It works with the stand-in for PyCPL, also where PyCPL is installed."""

from muse_core import cplapi

cplapi.use_standin()
