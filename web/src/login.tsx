// The server wants a token: it is exchanged for a cookie that scripts cannot read, and is kept nowhere here.
import { useState } from 'preact/hooks';
import { post } from './api';
import { ProblemNote, Title, useAction } from './ui';

export function Login({ onDone }: { onDone: () => void }) {
    const [token, setToken] = useState('');
    const act = useAction(async () => {
        await post('/session', { token: token.trim() });
        setToken('');
        onDone();
    });
    return (
        <form class="login" onSubmit={(e) => { e.preventDefault(); act.run(); }}>
            <Title>Token, please</Title>
            <p>This server is guarded. Whoever runs it can make a token with <code>halftone serve --add-token</code>.</p>
            <label>Token <input type="password" autoComplete="current-password" required value={token} onInput={(e) => setToken(e.currentTarget.value)} /></label>
            <ProblemNote problem={act.problem} />
            <div class="buttons"><button class="primary" disabled={act.busy || !token.trim()}>Enter</button></div>
        </form>
    );
}
