"""The topic sheets, written by hand; `topics.py` says how they are read."""

from chatfed.data.helpdesk.content import access, desk, devices, network, people, places

SHEETS = (devices.SHEET, access.SHEET, network.SHEET, desk.SHEET, people.SHEET, places.SHEET)
