const path = require('node:path')

module.exports = {
  apps: [
    {
      name: 'api',
      cwd: path.join(__dirname, '..'),
      script: 'src/start.mjs',
      interpreter: process.execPath,
      wait_ready: true,
      listen_timeout: 15_000,
      kill_timeout: 5_000,
      max_restarts: 3,
    },
  ],
}
