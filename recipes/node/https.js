// An HTTPS server on loopback, and two clients of it: one that knows who issued its certificate, one that does not.
const { execFileSync } = require("child_process");
const fs = require("fs");
const https = require("https");

const folder = fs.readdirSync("/smoke/usr/lib").find((name) => name.includes("-linux-gnu"));
const env = { LD_LIBRARY_PATH: `/smoke/usr/lib/${folder}` };
const command = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -config /dev/null -subj /CN=localhost";
const words = [...command.split(" "), "-addext", "subjectAltName=DNS:localhost", "-keyout", "-"];
const pem = execFileSync("/smoke/usr/bin/openssl", words, { env, stdio: ["ignore", "pipe", "ignore"] });
const server = https.createServer({ key: pem, cert: pem }, (_, answer) => answer.end("hello"));

server.listen(0, "127.0.0.1", () => {
  const options = { host: "localhost", port: server.address().port, agent: false };
  https.get({ ...options, ca: pem }, (answer) => {
    console.log(answer.statusCode === 200 ? "trusted" : answer.statusCode);
    https.get(options).on("error", (error) => {
      console.log(error.code === "DEPTH_ZERO_SELF_SIGNED_CERT" ? "refused" : error.code);
      process.exit();
    });
  });
});
