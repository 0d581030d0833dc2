"""The running edge: `agent.Agent` puts the parts together; beside it what looks at an edge from outside: inspect, replay, doctor, propose."""
