// Follows a deployment's log as the source document shows, in Node: `node follow.js URL DEPLOYMENT_ID EXAMPLE`.
// EXAMPLE is the document's JavaScript. Node without an EventSource of its own gets a small one that does no more
// than the example needs: unnamed events, ids, and coming back after an interruption.
const [baseUrl, deploymentId, example] = process.argv.slice(2);

class SmallEventSource {
  constructor(url) {
    this.url = url;
    this.lastId = null;
    this.read();
  }
  async read() {
    const headers = { Accept: "text/event-stream", ...(this.lastId && { "Last-Event-ID": this.lastId }) };
    try {
      const response = await fetch(this.url, { headers });
      if (response.status === 204) return;
      let rest = "";
      for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
        const blocks = (rest + piece).split("\n\n");
        rest = blocks.pop();
        for (const block of blocks) this.dispatch(block.split("\n"));
      }
    } catch {
      // The connection broke: come back below.
    }
    setTimeout(() => this.read(), 500);
  }
  dispatch(lines) {
    const field = (name) => lines.filter((l) => l.startsWith(`${name}: `)).map((l) => l.slice(name.length + 2));
    if (field("id").length) this.lastId = field("id")[0];
    if (field("data").length && !field("event").length) this.onmessage?.({ data: field("data").join("\n") });
  }
}
globalThis.EventSource ??= SmallEventSource;
setInterval(() => {}, 1000); // Node's own pauses before it comes back, and that alone does not keep Node running
new Function("deploymentId", example.replace("http://localhost:47080", baseUrl))(deploymentId);
