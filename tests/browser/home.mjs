// The directory of a browser's profile.

import { rmSync } from "node:fs";

// Removes it. Helpers of the browser may write a last file meanwhile, which a retry of `rmSync` itself
// does not see.
export async function removed(home) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      rmSync(home, { recursive: true, force: true });
      return;
    } catch (error) {
      if (attempt === 50) throw error;
      await new Promise((resolve) => { setTimeout(resolve, 100); });
    }
  }
}
