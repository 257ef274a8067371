// Takes orders in lines of JSON and answers in lines of JSON; see `driver.rs`. The same for both TypeScript lines.

import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';

/** `open(order)` gives a connected client and what to say of it. */
export async function serve(open, packages) {
    let client;
    for await (const line of createInterface({ input: process.stdin })) {
        const order = JSON.parse(line);
        try {
            switch (order.do) {
                case 'versions':
                    answer({ ok: Object.fromEntries(packages.map((name) => [name, version(name)])) });
                    break;
                case 'connect': {
                    const opened = await open(order);
                    client = opened.client;
                    answer({ ok: opened.about });
                    break;
                }
                case 'list':
                    answer({ ok: (await client.listTools()).tools.map((tool) => tool.name) });
                    break;
                case 'call':
                    answer({ ok: text(await client.callTool({ name: order.tool, arguments: order.arguments })) });
                    break;
                case 'close':
                    await client.close();
                    answer({ ok: null });
                    break;
            }
        } catch (error) {
            console.error(error);
            answer({ error: told(error) });
        }
    }
    process.exit(0);
}

function answer(members) {
    process.stdout.write(`${JSON.stringify(members)}\n`);
}

function text(result) {
    const text = result.content.map((part) => part.text ?? '').join(' ');
    if (result.isError) throw new Error(text);
    return text;
}

function told(error) {
    // What the server answered is beside the message in errors of the 2.x line.
    const answered = error?.data?.text === undefined ? '' : ` (${error.data.text})`;
    const code = error?.code ?? error?.errorCode ?? '';
    const text = `${error?.constructor?.name ?? 'Error'} ${code}: ${error?.message ?? error}${answered}`;
    return error?.cause === undefined ? text : `${text} <- ${told(error.cause)}`;
}

function version(name) {
    return JSON.parse(readFileSync(new URL(`node_modules/${name}/package.json`, import.meta.url))).version;
}
