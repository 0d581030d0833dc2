"""Beside the line: the panel for people, and what DCS and SCADA may look at. Everything here works with gateway and network gone."""
