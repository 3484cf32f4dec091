// Runs the Marketplace client of the official SDK. Each line of standard input is a
// call, with its arguments in "with"; it is answered by a line with what the client
// returned or threw.
import { createInterface } from "node:readline";
import { MarketplaceS2SAuthClient } from "@zoom/rivet/marketplace";
import axios from "axios";

const { PLATFORM, CLIENT_ID, CLIENT_SECRET, ACCOUNT_ID } = process.env;

// These two are all that a program has to change. The SDK has an option for the URL of
// the API, and none for where it gets its tokens.
axios.interceptors.request.use((request) => {
	request.url = request.url.replace("https://zoom.us/oauth/", `${PLATFORM}/oauth/`);
	return request;
});
const { endpoints } = new MarketplaceS2SAuthClient({
	baseUrl: `${PLATFORM}/v2`,
	clientId: CLIENT_ID,
	clientSecret: CLIENT_SECRET,
	accountId: ACCOUNT_ID,
	disableReceiver: true,
});

for await (const line of createInterface({ input: process.stdin })) {
	const { call, with: args } = JSON.parse(line);
	const answer = await endpoints.app[call](args).catch(({ name, message }) => ({ error: { name, message } }));
	console.log(JSON.stringify(answer));
}
