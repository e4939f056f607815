#!/usr/bin/env python3
"""What an upload costs the client, side by side: packmule from volumes and from the source, and other tools from the source.

    tests/bench/ingest/run.py [--server null|garage] [--data big,small] [--clients ingest,send,s5cmd,rclone,awscli] [--reps 3]

"ingest:256MiB" is ingest with that much memory.

Prints one line for each run and a table of medians: wall seconds, client CPU seconds per GB, peak memory. The CPU is that of
the client's process tree alone; client and server share the machine, so compare CPU first. Needs a release build
(cargo build --release), rustc for the server that keeps nothing, GARAGE_BIN for Garage; tools that are not on PATH are
skipped aloud. Data and volumes lie in --dir (default: /dev/shm), about 7 GB for both kinds, and are removed in the end."""
import argparse, json, os, random, re, resource, shutil, socket, statistics, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
PACKMULE = os.environ.get("PACKMULE", os.path.join(ROOT, "target/release/packmule"))
KEY = {"null": ("key", "secret"), "garage": ("GK" + "%024d" % 1, "%064d" % 1)}


def make(kind, folder):
    """Bytes that do not compress, so that no tool gets anything for nothing."""
    os.makedirs(folder)
    rng = random.Random(7)
    if kind == "big":
        for number in range(2):
            with open(f"{folder}/file{number}", "wb") as out:
                for _ in range(128):
                    out.write(rng.randbytes(8 << 20))
    else:
        for number in range(20000):
            sub = f"{folder}/d{number // 500:03}"
            os.makedirs(sub, exist_ok=True)
            with open(f"{sub}/f{number:05}", "wb") as out:
                out.write(rng.randbytes(rng.randint(4 << 10, 64 << 10)))


def size(folder):
    return sum(os.path.getsize(os.path.join(at, name)) for at, _, names in os.walk(folder) for name in names)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Server:
    def __init__(self, kind, work):
        self.kind, self.dir = kind, os.path.join(work, "server")
        os.makedirs(self.dir)
        if kind == "null":
            program = os.path.join(work, "null_s3")
            if not os.path.exists(program):
                subprocess.run(["rustc", "--edition", "2024", "-O", "-o", program, f"{HERE}/null_s3.rs"], check=True)
            self.process = subprocess.Popen([program], stdout=subprocess.PIPE, text=True)
            self.url = self.process.stdout.readline().strip()
            return
        api, rpc, admin = free_port(), free_port(), free_port()
        config = f'''metadata_dir = "{self.dir}/meta"
data_dir = "{self.dir}/data"
db_engine = "lmdb"
replication_factor = 1
metadata_fsync = false
data_fsync = false
compression_level = "none"
rpc_bind_addr = "127.0.0.1:{rpc}"
rpc_public_addr = "127.0.0.1:{rpc}"
rpc_secret = "{"00" * 32}"
[s3_api]
s3_region = "us-east-1"
api_bind_addr = "127.0.0.1:{api}"
[admin]
api_bind_addr = "127.0.0.1:{admin}"
'''
        with open(f"{self.dir}/garage.toml", "w") as out:
            out.write(config)
        env = dict(os.environ, GARAGE_DEFAULT_ACCESS_KEY=KEY["garage"][0], GARAGE_DEFAULT_SECRET_KEY=KEY["garage"][1],
                   GARAGE_DEFAULT_BUCKET="bucket")
        self.log = f"{self.dir}/log"
        self.process = subprocess.Popen([os.environ["GARAGE_BIN"], "-c", f"{self.dir}/garage.toml", "server",
                                         "--single-node", "--default-bucket"], env=env, stderr=open(self.log, "w"))
        for _ in range(200):
            if "S3 API server listening" in open(self.log).read():
                break
            time.sleep(0.05)
        self.url = f"http://127.0.0.1:{api}"

    def stop(self):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.dir)


def commands(client, source, work, url, rep):
    to = f"r{rep}{client}"
    job = f"{work}/job-{to}"
    common = ["--to", f"s3://bucket/{to}", "--endpoint-url", url, "--region", "us-east-1", "--job", job]
    if client.startswith("ingest"):
        shutil.rmtree(job, ignore_errors=True)
        shutil.copytree(f"{work}/job", job)
        memory = ["--memory", client.split(":")[1]] if ":" in client else []
        return [PACKMULE, "ingest", f"{work}/v1", f"{work}/v2", "--unlock-code-file", f"{work}/code", *common, *memory], {}
    if client == "send":
        return [PACKMULE, "send", source, *common], {}
    if client == "s5cmd":
        return ["s5cmd", "--numworkers", "16", "--log", "error", "cp", "--concurrency", "16", "--part-size", "8",
                source + "/", f"s3://bucket/{to}/"], {"S3_ENDPOINT_URL": url}
    if client == "rclone":
        return ["rclone", "copy", "--transfers", "16", "--s3-upload-concurrency", "4", "--s3-chunk-size", "8Mi",
                "--s3-upload-cutoff", "8Mi", "--s3-no-check-bucket", "--s3-no-head", "--no-traverse", "--config",
                "/dev/null", "-q", source, f"lab:bucket/{to}"], {}
    if client == "awscli":
        return ["aws", "--endpoint-url", url, "s3", "cp", "--recursive", "--only-show-errors", source,
                f"s3://bucket/{to}/"], {}
    sys.exit(f"no client {client}")


def measure(command, env):
    begun = time.monotonic()
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    said = process.stderr.read().decode("utf8", "replace")
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = status
    return time.monotonic() - begun, used.ru_utime + used.ru_stime, used.ru_maxrss // 1024, status, said


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default="null", choices=["null", "garage"])
    parser.add_argument("--data", default="big,small")
    parser.add_argument("--clients", default="ingest,send,s5cmd,rclone,awscli")
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--dir", default="/dev/shm")
    args = parser.parse_args()
    work = tempfile.mkdtemp(prefix="packmule-bench-", dir=args.dir)
    rows = []
    try:
        for kind in args.data.split(","):
            place = os.path.join(work, kind)
            source = os.path.join(place, "source")
            make(kind, source)
            total = size(source)
            for volume in ("v1", "v2"):
                os.makedirs(f"{place}/{volume}")
            subprocess.run([PACKMULE, "stage", source, "--volume", f"{place}/v1", "--volume", f"{place}/v2", "--job",
                            f"{place}/job", "--unlock-code-file", f"{place}/code"], check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for rep in range(args.reps):
                for client in args.clients.split(","):
                    tool = {"ingest": PACKMULE, "send": PACKMULE, "awscli": "aws"}.get(client.split(":")[0], client)
                    if not shutil.which(tool):
                        print(f"SKIPPED: {tool} is not on PATH", file=sys.stderr)
                        continue
                    server = Server(args.server, work)
                    access, secret = KEY[args.server]
                    command, extra = commands(client, source, place, server.url, rep)
                    env = dict(os.environ, AWS_ACCESS_KEY_ID=access, AWS_SECRET_ACCESS_KEY=secret,
                               AWS_DEFAULT_REGION="us-east-1", AWS_REGION="us-east-1", AWS_EC2_METADATA_DISABLED="true",
                               RCLONE_CONFIG_LAB_TYPE="s3", RCLONE_CONFIG_LAB_PROVIDER="Other",
                               RCLONE_CONFIG_LAB_ENDPOINT=server.url, RCLONE_CONFIG_LAB_ACCESS_KEY_ID=access,
                               RCLONE_CONFIG_LAB_SECRET_ACCESS_KEY=secret, RCLONE_CONFIG_LAB_REGION="us-east-1", **extra)
                    wall, cpu, rss, status, said = measure(command, env)
                    server.stop()
                    row = dict(server=args.server, data=kind, client=client, wall_s=round(wall, 2), cpu_s=round(cpu, 2),
                               cpu_s_per_gb=round(cpu / (total / 1e9), 3), peak_mib=rss, status=status)
                    if status:
                        row["said"] = said[-300:]
                    rows.append(row)
                    print(json.dumps(row), flush=True)
            shutil.rmtree(place)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f"\n| data | client | n | wall s | client CPU s per GB | peak MiB |\n|---|---|---|---|---|---|")
    for kind in args.data.split(","):
        for client in args.clients.split(","):
            good = [row for row in rows if (row["data"], row["client"], row["status"]) == (kind, client, 0)]
            if good:
                middle = lambda name: statistics.median(row[name] for row in good)
                print(f"| {kind} | {client} | {len(good)} | {middle('wall_s'):.2f} | {middle('cpu_s_per_gb'):.2f} | {middle('peak_mib'):.0f} |")


main()
