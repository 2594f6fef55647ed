# SPDX-License-Identifier: GPL-2.0-or-later
"""The folder of the native CPL plugin; point ``esorex --recipe-dir`` to it."""
