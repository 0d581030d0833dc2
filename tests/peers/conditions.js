// An independent client (node-opcua) against the conditions of an edge: events, acknowledge, shelve, refresh. Prints one JSON object.
"use strict";
const opcua = require("node-opcua-client");

const [url, user, password] = process.argv.slice(2);
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const found = { events: [] };

async function until(what, ms = 15000) {
  const end = Date.now() + ms;
  while (Date.now() < end) {
    const value = what();
    if (value) return value;
    await wait(20);
  }
  throw new Error(`not within ${ms} ms: ${what}`);
}

async function main() {
  const client = opcua.OPCUAClient.create({
    endpointMustExist: false, securityMode: opcua.MessageSecurityMode.SignAndEncrypt, securityPolicy: opcua.SecurityPolicy.Basic256Sha256,
    connectionStrategy: { maxRetry: 1 },
  });
  client.clientCertificateManager.automaticallyAcceptUnknownCertificate = true;
  await client.connect(url);
  const session = await client.createSession({ type: opcua.UserTokenType.UserName, userName: user, password });
  const subscription = await session.createSubscription2({ requestedPublishingInterval: 50, requestedLifetimeCount: 1000, requestedMaxKeepAliveCount: 10, publishingEnabled: true });
  // The id of a condition is no field of its event: it is selected as the NodeId of the type (OPC 10000-9, 5.5.2).
  const fields = ["EventId", "EventType", "ConditionName", "Severity", "Retain", "AckedState.Id", "ActiveState.Id", "ClientUserId", "ShelvingState.CurrentState", "Message"];
  const filter = opcua.constructEventFilter(fields);
  filter.selectClauses.push(new opcua.SimpleAttributeOperand({ typeDefinitionId: "i=2782", browsePath: [], attributeId: opcua.AttributeIds.NodeId }));
  const item = await subscription.monitor(
    { nodeId: opcua.resolveNodeId("Server"), attributeId: opcua.AttributeIds.EventNotifier },
    { samplingInterval: 0, queueSize: 1000, discardOldest: true, filter },
    opcua.TimestampsToReturn.Both);
  const seen = [];
  item.on("changed", (values) => {
    const event = Object.fromEntries(fields.map((name, i) => [name, values[i]?.value]));
    event.conditionId = values[values.length - 1]?.value;
    event.type = event.EventType?.toString();
    seen.push(event);
  });
  const named = (name) => seen.filter((e) => e.ConditionName === name);
  process.stdout.write("ready\n");

  const raised = await until(() => named("press1/hopper_level.low")[0]);
  found.raised = { severity: raised.Severity, retain: raised.Retain, acked: raised["AckedState.Id"], active: raised["ActiveState.Id"], condition: raised.conditionId.toString() };
  found.acknowledge = (await session.acknowledgeCondition(raised.conditionId, raised.EventId, "from node-opcua")).name;
  found.again = (await session.acknowledgeCondition(raised.conditionId, raised.EventId, "again")).name;
  const acked = await until(() => named("press1/hopper_level.low").find((e) => e["AckedState.Id"]));
  found.acked = { user: acked.ClientUserId };
  found.comment = (await session.addCommentCondition(raised.conditionId, acked.EventId, "looked at it")).name;

  const call = async (objectId, methodId, inputArguments = []) => (await session.call({ objectId, methodId, inputArguments })).statusCode.name;
  found.shelve = await call(raised.conditionId, "i=2949", [{ dataType: opcua.DataType.Double, value: 600000 }]);
  const shelved = await until(() => named("press1/hopper_level.low").find((e) => e["ShelvingState.CurrentState"]?.text === "TimedShelved"));
  found.shelved = shelved["ShelvingState.CurrentState"].text;
  found.unshelve = await call(raised.conditionId, "i=2947");
  found.confirm = (await session.confirmCondition(raised.conditionId, raised.EventId, "no")).name;

  const before = seen.length;
  found.refresh = await call("i=2782", "i=3875", [{ dataType: opcua.DataType.UInt32, value: subscription.subscriptionId }]);
  await until(() => seen.slice(before).some((e) => e.type === "ns=0;i=2788"));
  found.refreshed = seen.slice(before).map((e) => e.ConditionName ?? e.type);

  found.write = (await session.write({ nodeId: found.raised.condition.replace(/;s=.*/, ";s=press-edge-1/Heartbeat"), attributeId: opcua.AttributeIds.Value, value: { value: { dataType: opcua.DataType.UInt16, value: 1 } } })).name;
  delete found.events;
  process.stdout.write(`${JSON.stringify(found)}\n`);
  await session.close();
  await client.disconnect();
}

main().catch((error) => { process.stderr.write(`${JSON.stringify(found)}\n`); process.stderr.write(`${error.stack}\n`); process.exit(1); });
