# SPDX-License-Identifier: GPL-2.0-or-later
"""`muse_core.Recipe`: recipes called from Python as python-cpl calls them, without CPL."""
