// What Node-RED runs with here: no editor, no encryption of the one password in its scratch folder, few lines of log.
module.exports = {
  uiHost: "127.0.0.1",
  uiPort: Number(process.env.PEER_PORT),
  httpAdminRoot: false,
  httpNodeRoot: false,
  credentialSecret: false,
  flowFile: "flows.json",
  logging: { console: { level: "warn", metrics: false, audit: false } },
  functionGlobalContext: { meters: JSON.parse(require("fs").readFileSync("meters.json", "utf8")) },
};
