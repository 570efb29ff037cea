"""A real RTSP server (GStreamer's) that plays H.264 access units without end, at 25 frames a second.

Run by the Python that has Debian's ``python3-gi``, in a process of its own::

    rtsp_server.py PORT FOLDER [USER PASSWORD]

``FOLDER`` holds one access unit a file; PORT 0 takes any that is free. The first line printed is the port.
"""

import sys
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

PIPELINE = (
    "( appsrc name=source format=time caps=video/x-h264,stream-format=byte-stream,alignment=au,framerate=25/1 "
    "! h264parse ! rtph264pay name=pay0 pt=96 config-interval=1 )"
)


class Camera(GstRtspServer.RTSPMediaFactory):
    def __init__(self, units):
        super().__init__()
        self.units = units
        self.set_launch(PIPELINE)
        self.set_shared(True)

    def do_configure(self, media):
        period = Gst.SECOND // 25
        count = 0

        def push(source, _):
            nonlocal count
            buffer = Gst.Buffer.new_wrapped(self.units[count % len(self.units)])
            buffer.pts = buffer.dts = count * period
            buffer.duration = period
            count += 1
            source.emit("push-buffer", buffer)

        media.get_element().get_by_name("source").connect("need-data", push)


def protect(server, camera, user, password):
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth = GstRtspServer.RTSPAuth()
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)
    structure = Gst.Structure.new_empty("viewer")
    structure.set_value("media.factory.access", True)
    structure.set_value("media.factory.construct", True)
    camera.add_role_from_structure(structure)


def main(port, folder, *login):
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    camera = Camera([path.read_bytes() for path in sorted(Path(folder).iterdir())])
    if login:
        protect(server, camera, *login)
    server.get_mount_points().add_factory("/camera", camera)
    server.attach(None)
    print(server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


main(*sys.argv[1:])
