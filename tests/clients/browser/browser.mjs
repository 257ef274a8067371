// A person in Chromium: opens the page, signs in, presses a button, and waits for where that ends.
// Arguments: the page's URL, a sign-in code, the button, and the beginning of the URL at the end, or `-` for as far as
// it goes. Prints one JSON object: where the browser is, what it shows, and what it says on its console. Exits with 3
// where no Chromium runs.

import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import packaged from '@sparticuz/chromium';
import { chromium } from 'playwright-core';

const [url, code, button, end] = process.argv.slice(2);
const browser = await launched();
const page = await browser.newPage();
const said = [];
page.on('console', (message) => said.push(message.text()));
await page.goto(url);
await page.getByLabel('Your sign-in code').fill(code);
await page.getByRole('button', { name: 'Go on' }).click();
await page.getByRole('button', { name: button }).click();
if (end === '-') {
    await page.getByRole('link').waitFor();
} else {
    await page.waitForURL((at) => at.href.startsWith(end), { timeout: 20_000 }).catch((error) => said.push(String(error)));
}
process.stdout.write(JSON.stringify({ version: browser.version(), at: page.url(), shows: await page.textContent('body'), said }) + '\n');
await browser.close();

/** A browser. It has no sandbox, so that it runs as root and in containers; it visits what the test serves. */
async function launched() {
    try {
        const executablePath = installed() ?? (await packaged.executablePath());
        return await chromium.launch({ executablePath, args: ['--no-sandbox'] });
    } catch (error) {
        console.error(String(error));
        process.exit(3);
    }
}

/** The machine's own, if it has one. */
function installed() {
    const names = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];
    const folders = (process.env.PATH ?? '').split(delimiter);
    return folders.flatMap((folder) => names.map((name) => join(folder, name))).find((path) => existsSync(path));
}
