// Light, dark, or as the system says.
import { useEffect, useState } from 'preact/hooks';

type Theme = 'auto' | 'light' | 'dark';
const next: Record<Theme, Theme> = { auto: 'light', light: 'dark', dark: 'auto' };

function stored(): Theme {
    const t = localStorage.getItem('theme');
    return t === 'light' || t === 'dark' ? t : 'auto';
}

export function ThemeSwitch() {
    const [theme, set] = useState<Theme>(stored);
    useEffect(() => {
        if (theme === 'auto') delete document.documentElement.dataset.theme;
        else document.documentElement.dataset.theme = theme;
        localStorage.setItem('theme', theme);
        dispatchEvent(new Event('themechange'));
    }, [theme]);
    return (
        <button type="button" class="quiet theme" onClick={() => set(next[theme])} aria-label={`Colours: ${theme}. Change to ${next[theme]}`}>
            <span aria-hidden="true">{theme === 'auto' ? '◐' : theme === 'light' ? '○' : '●'}</span> {theme}
        </button>
    );
}
