// An independent server (node-opcua) for the edge to read: small limits, history, namespaces in an order that is told. Commands come by stdin.
"use strict";
const { OPCUAServer } = require("node-opcua-server");
const { OPCUACertificateManager } = require("node-opcua-certificate-manager");
const { DataType, Variant } = require("node-opcua-variant");
const { DataValue } = require("node-opcua-data-value");
const { StatusCodes } = require("node-opcua-status-code");
const { nodesets } = require("node-opcua-nodesets");
const { MessageSecurityMode, SecurityPolicy } = require("node-opcua-secure-channel");
const readline = require("readline");

const [port, folder, ...uris] = process.argv.slice(2);

async function main() {
  const certificates = new OPCUACertificateManager({ rootFolder: folder, automaticallyAcceptUnknownCertificate: false });
  await certificates.initialize();
  const server = new OPCUAServer({
    port: Number(port), hostname: "127.0.0.1", nodeset_filename: [nodesets.standard], serverCertificateManager: certificates,
    securityModes: [MessageSecurityMode.None, MessageSecurityMode.SignAndEncrypt], securityPolicies: [SecurityPolicy.None, SecurityPolicy.Basic256Sha256],
    serverCapabilities: { operationLimits: { maxMonitoredItemsPerCall: 3, maxNodesPerRead: 50, maxNodesPerHistoryReadData: 1 } },
  });
  await server.initialize();
  const space = server.engine.addressSpace;
  const variables = {};
  for (const uri of uris) {
    const own = space.registerNamespace(uri);
    if (!uri.endsWith(":plant")) continue;
    for (const name of ["a", "b", "c", "d", "e"]) {
      variables[name] = own.addVariable({ organizedBy: space.rootFolder.objects, browseName: name, nodeId: `s=${name}`, dataType: "Double" });
    }
    space.installHistoricalDataNode(variables.a, { maxOnlineValues: 10000 });
  }
  const set = (name, value, ms) => {
    const time = new Date(ms);
    variables[name].setValueFromSource(new Variant({ dataType: DataType.Double, value }), StatusCodes.Good, time);
  };
  for (const name of Object.keys(variables)) set(name, 0, 1700000000000);
  await server.start();
  process.stdout.write("ready\n");
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [word, name, first, last, start] = line.split(" ");
    if (word !== "run") break;
    for (let k = Number(first); k <= Number(last); k++) set(name, k, Number(start) + k * 100);
    process.stdout.write("done\n");
  }
  await server.shutdown(0);
  process.exit(0);
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
