// Runs the receiver of the official SDK on a free port of this machine. The first
// line that it prints is its URL; after that it prints each event as its handlers
// got it. It ends with its standard input.
import { MarketplaceS2SAuthClient } from "@zoom/rivet/marketplace";

const client = new MarketplaceS2SAuthClient({
	clientId: "not used for receiving",
	clientSecret: "not used for receiving",
	accountId: "not used for receiving",
	webhooksSecretToken: process.env.SECRET_TOKEN,
	port: { host: "127.0.0.1", port: 0 }, // a number would be taken on all addresses
});
for (const name of process.argv.slice(2)) {
	client.webEventConsumer.event(name, (event) => console.log(JSON.stringify(event)));
}
const server = await client.start();
console.log(`http://127.0.0.1:${server.address().port}/zoom/events`);
process.stdin.resume().on("end", () => process.exit());
