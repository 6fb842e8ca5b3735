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
            <Title>Sign in</Title>
            <p>This server needs an access token. Its operator makes one with <code>halftone serve --new-token NAME</code>.</p>
            <label>Token <input type="password" autoComplete="current-password" required value={token} onInput={(e) => setToken(e.currentTarget.value)} /></label>
            <ProblemNote problem={act.problem} />
            <div class="buttons"><button class="primary" disabled={act.busy || !token.trim()}>Sign in</button></div>
        </form>
    );
}
