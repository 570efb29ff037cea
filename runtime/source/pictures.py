"""Decoded pictures become frames: the one place that reads what a picture says about itself, for every source."""

from __future__ import annotations

from fractions import Fraction

import av
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType

from arseg_edge.runtime.motion.vectors import VECTOR_CODECS, VectorRecords, moved_vectors
from arseg_edge.runtime.source.colour import colour_of
from arseg_edge.runtime.source.decoded_frame import DecodedFrame
from arseg_edge.runtime.source.incidents import Incidents
from arseg_edge.runtime.source.reference_order import Coded, Place, ShownOrder
from arseg_edge.runtime.source.rotation import Turn, Turner, turn_of, turn_vectors


class Pictures:
    """Takes the pictures of one source in display order."""

    def __init__(self, incidents: Incidents, codec: str | None = None) -> None:
        """``codec``: the decoder; None where pictures come from a decoder of the caller's own."""
        self._incidents = incidents
        self._codec = codec
        self._turner = Turner()
        self._turn = Turn()
        self._order = ShownOrder()
        self._sequence = 0
        self._size: tuple[int, int] | None = None
        self._reordered = False

    def begin(self, codec: str | None) -> None:
        """Go on with another stream, as after a reconnection."""
        self._codec, self._order, self._sequence, self._reordered = codec, ShownOrder(), 0, False

    def skip(self) -> None:
        """Pictures are left out on purpose, so that the next one follows on none."""
        self._order = ShownOrder()

    def frame(
        self,
        picture: av.VideoFrame,
        index: int,
        stream_pts: int | None,
        time_base: Fraction,
        *,
        coded: Coded | None = None,
        delayed: bool = False,
        discontinuity: bool = False,
        dropped: int = 0,
        arrived: float | None = None,
        sample_aspect_ratio: Fraction | None = None,
        decoder: VideoCodecContext | None = None,
    ) -> DecodedFrame:
        """The next frame, upright.

        Args:
            picture: as decoded.
            index: 0, 1, 2, ... in the order given.
            stream_pts: the stream's own time in units of ``time_base``; the clock makes the steady one of it.
            time_base: in seconds.
            coded: what its packet says of it; None where that is not known.
            delayed: the decoder keeps pictures back in case that later ones are shown before them.
            discontinuity: something between this frame and the one before was lost.
            dropped: frames left out right before this one.
            arrived: when its data came in.
            sample_aspect_ratio: a pixel's width over its height, as decoded.
            decoder: that the picture came from.
        """
        kind = PictureType(picture.pict_type)
        vectors = self._vectors(picture)
        # Once a stream shows B-frames, no frame of it is sure to be shown in the order of decoding.
        same = coded is None or coded.sequence == self._sequence
        self._sequence = self._sequence if coded is None else coded.sequence
        self._reordered = (
            (self._reordered and same)
            or kind in (PictureType.B, PictureType.BI)
            or delayed
            or (vectors is not None and bool((vectors["source"] > 0).any()))
        )
        corrupt = picture.is_corrupt
        colour = colour_of(picture, decoder)
        place = Place(reference=None, lost_reference=False, discontinuity=False)
        if coded is not None:
            place = self._order.place(
                coded,
                stream_pts,
                predicted=kind is PictureType.P,
                intra=kind in (PictureType.I, PictureType.SI),
                reordered=self._reordered,
            )
            if vectors is not None and (coded.crop.left or coded.crop.top):
                # FFmpeg crops less on the left than it is told where memory would not be aligned.
                left = coded.coded_width - coded.crop.right - picture.width
                vectors = moved_vectors(vectors, min(max(left, 0), coded.crop.left), coded.crop.top)
        if turn := self._turn_of(picture, coded):
            self._incidents.note("turned")
            if sample_aspect_ratio is not None and turn.transposed:
                sample_aspect_ratio = 1 / sample_aspect_ratio
            if vectors is not None:
                vectors = turn_vectors(vectors, turn, picture.height, picture.width)
            picture = self._turner.turn(picture, turn)
        size = picture.height, picture.width
        if self._size not in (None, size):
            self._incidents.note("resized")
        self._size = size
        if corrupt:
            self._incidents.note("damaged")
        if colour.is_hdr:
            self._incidents.note("tone-mapped")
        return DecodedFrame(
            index=index,
            pts=0,  # the clock's to say
            stream_pts=stream_pts,
            time_base=time_base,
            picture=picture,
            picture_type="?" if kind is PictureType.NONE else kind.name,
            vectors=vectors,
            reordered=self._reordered,
            reference=None if vectors is None else place.reference,
            references=None if coded is None else coded.references,
            droppable=coded is not None and coded.droppable,
            discontinuity=discontinuity or place.discontinuity,
            dropped=dropped,
            lost_reference=place.lost_reference,
            corrupt=corrupt,
            arrived=arrived,
            sample_aspect_ratio=sample_aspect_ratio,
            colour=colour,
        )

    def _turn_of(self, picture: av.VideoFrame, coded: Coded | None) -> Turn:
        """How to show a picture: as it says itself, or else as the last one said that did."""
        turn = turn_of(picture)
        if self._codec is None:  # pictures of a caller's own can be from anywhere
            return turn or Turn()
        if turn is not None or (coded is not None and coded.orientation):
            self._turn = turn or Turn()
        return self._turn

    def _vectors(self, picture: av.VideoFrame) -> VectorRecords | None:
        # In interlaced pictures vectors can refer to fields, which the records do not tell.
        if self._codec not in (None, *VECTOR_CODECS) or picture.interlaced_frame:
            return None
        vectors = picture.side_data.get("MOTION_VECTORS")
        return None if vectors is None else vectors.to_ndarray()
