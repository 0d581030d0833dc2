"""Sparkplug B 3.0 as both sides need it: topics, payloads, data types, quality. Source: Eclipse Sparkplug specification 3.0.0."""
