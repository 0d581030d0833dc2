"""Protocol servers of the simulated plant: OPC UA server and MQTT publisher."""
